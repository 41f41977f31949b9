/** The chat once more, in React: what the hooks are for. */

import { useState } from "react";
import { RealtimeProvider } from "quart-realtime/react";

import { Chat } from "./chat.jsx";
import { Login } from "./login.jsx";
import { NoticeProvider } from "./notices.jsx";
import { PeopleProvider } from "./people.jsx";
import { OPTIONS } from "./realtime.js";
import { Session } from "./session.js";

export function App() {
  const [session, setSession] = useState(Session.resume);
  const [reason, setReason] = useState("");

  if (session === null) return <Login reason={reason} onIn={setSession} />;

  const end = (why) => {
    session.end();
    setReason(why);
    setSession(null);
  };
  // Whoever logs in next mounts a provider anew, and so has a client and a state of their own.
  return (
    <RealtimeProvider token={session.getToken} options={OPTIONS}>
      <NoticeProvider>
        <PeopleProvider>
          <Chat onEnd={end} />
        </PeopleProvider>
      </NoticeProvider>
    </RealtimeProvider>
  );
}
