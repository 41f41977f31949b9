/** An app that is mounted and taken away a hundred times, for the tests to see what is left of it. */

import { StrictMode } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";

import {
  RealtimeProvider,
  useConnectionState,
  useEvent,
  usePresence,
  useRequest,
  useRoom,
} from "../../../quart_realtime/static/react.js";

// From its first root on React listens to the document, once, whatever is mounted.
createRoot(document.createElement("div"));

function Everything({ room }) {
  useConnectionState();
  useEvent("new_message", () => {});
  useRequest("users", "whoami");
  useRoom(room, { new_message: () => {} });
  return usePresence(room).length;
}

/** Mount and unmount it so many times, awaiting `pause()` in between. */
export async function mount(times, token, room, pause) {
  const options = { url: `${location.origin}/ws` };
  for (let time = 0; time < times; time++) {
    const root = createRoot(document.createElement("div"));
    flushSync(() =>
      root.render(
        <StrictMode>
          <RealtimeProvider token={token} options={options}>
            <Everything room={room} />
          </RealtimeProvider>
        </StrictMode>,
      ),
    );
    await pause(time);
    flushSync(() => root.unmount());
  }
}
