// Node's socket.io, one room; clients come by websocket only.
import http from "node:http";
import { createRequire } from "node:module";
import { serveControl, TEXT } from "./control.mjs";

const require = createRequire(process.env.BENCH_NODE_MODULES + "/");
const { Server } = require("socket.io");

const web = http.createServer();
const io = new Server(web, { transports: ["websocket"] });
io.on("connection", (socket) => {
  socket.join("bench");
  socket.on("echo", (data, acknowledge) => acknowledge(data));
});

serveControl((room, count) => {
  for (let number = 0; number < count; number++) {
    io.to(room).emit("tick", { number, text: TEXT });
  }
});
web.listen(0, "127.0.0.1");
