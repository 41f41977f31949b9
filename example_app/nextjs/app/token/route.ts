import { accessToken } from "../../session";

/** What the page connects with. No Server Action: those wait for one another, and change with each build. */
export async function POST() {
  const access_token = await accessToken();
  return Response.json({ access_token }, { status: access_token === null ? 401 : 200 });
}
