import { logIn } from "./actions";

/** A form that the server answers: it works without any script. */
export function Login() {
  return (
    <main className="login">
      <form className="card" action={logIn}>
        <h1>Chat, in Next.js</h1>
        <p className="quiet">Come in as a demo user, and as another in a private window:</p>
        <div className="demo">
          {Object.entries({ ana: "Ana", luis: "Luis", eva: "Eva" }).map(([user, name]) => (
            <button key={user} name="user" value={user} data-demo={user}>{name}</button>
          ))}
        </div>
      </form>
    </main>
  );
}
