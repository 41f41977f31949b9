import { accessToken, quart } from "../session";
import { Chat } from "./chat";
import { Login } from "./login";
import { Providers } from "./providers";

/** Rendered on the server: the first HTML has the conversations, before any script or socket. */
export default async function Page() {
  const token = await accessToken();
  if (token === null) return <Login />;
  const get = (path: string) => quart(path, { headers: { Authorization: `Bearer ${token}` } });
  const [{ conversations }, { users }] = await Promise.all([get("/conversations"), get("/users")]);
  return (
    <Providers>
      <Chat conversations={conversations} users={users} />
    </Providers>
  );
}
