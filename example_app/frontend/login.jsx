import { useState } from "react";

import icon from "../static/icon.svg";
import { useTitle } from "./hooks.js";
import { Session } from "./session.js";

/** Their passwords are their usernames. */
const DEMO = { ana: "Ana", luis: "Luis", eva: "Eva" };

/** `reason` is why the last session ended; `onIn(session)` is told of the next. */
export function Login({ reason, onIn }) {
  const [problem, setProblem] = useState(reason);
  const [isAsking, setAsking] = useState(false);
  useTitle("Chat, in React");

  async function comeIn(username, password) {
    if (isAsking) return;
    setAsking(true);
    try {
      onIn(await Session.logIn(username, password));
    } catch (error) {
      setProblem(error.message);
      setAsking(false);
    }
  }

  function submit(event) {
    event.preventDefault();
    const { username, password } = event.currentTarget.elements;
    comeIn(username.value, password.value);
  }

  return (
    <main className="login" id="login">
      <form className="card" id="login-form" onSubmit={submit}>
        <img src={icon} alt="" width="48" height="48" />
        <h1>Chat, in React</h1>
        <p className="quiet">Two windows, two people: what one writes, the other sees at once.</p>
        <label>
          Username
          <input
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            maxLength={128}
            required
            autoFocus
          />
        </label>
        <label>
          Password
          <input name="password" type="password" autoComplete="current-password" maxLength={128} required />
        </label>
        <p className="failure" id="login-failure" role="alert">{problem}</p>
        <button className="primary">Log in</button>
        <div className="demo" role="group" aria-labelledby="demo-label">
          <p className="quiet" id="demo-label">Or come in as a demo user:</p>
          {Object.entries(DEMO).map(([user, name]) => (
            <button key={user} type="button" data-demo={user} onClick={() => comeIn(user, user)}>
              {name}
            </button>
          ))}
        </div>
      </form>
    </main>
  );
}
