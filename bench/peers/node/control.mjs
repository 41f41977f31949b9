// How the Node peers are told to publish: lines on a Unix socket, as for those in Python.
import net from "node:net";

export const TEXT =
  "a line of text that somebody has written to all the others in the same room, " +
  "and a little more, so that it is of a usual size";

export function serveControl(publish) {
  const path = process.env.BENCH_CONTROL;
  if (!path) return;
  net
    .createServer((socket) => {
      let rest = "";
      socket.on("data", (data) => {
        const lines = (rest + data).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          const [verb, room, count] = line.split(" ");
          if (verb === "publish") publish(room, Number(count));
          else {
            globalThis.gc?.();
            socket.write("done\n");
          }
        }
      });
      socket.on("error", () => {});
    })
    .listen(path);
}
