/** The REST side of both pages: JSON out, JSON back. */

/** What the API refused, with its HTTP status. */
class RestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function post(path, { body, token } = {}) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { method: "POST", headers, body: body && JSON.stringify(body) });
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new RestError(response.status, answer.message);
  return answer;
}
