/** Telling the user something for a while. */

import { createContext, useContext, useEffect, useMemo, useState } from "react";

const SHOWN = 6_000;

const Notices = createContext(null);

/** `notify(text)`, and `attempt(work)`: a promise of whether it succeeded; the user is told of a failure. */
export const useNotices = () => useContext(Notices);

export function NoticeProvider({ children }) {
  // An object, so that the same text once more is shown for as long once more.
  const [notice, setNotice] = useState(null);

  useEffect(() => {
    if (notice === null) return undefined;
    const timer = setTimeout(() => setNotice(null), SHOWN);
    return () => clearTimeout(timer);
  }, [notice]);

  const tools = useMemo(() => {
    const notify = (text) => setNotice({ text });
    const attempt = (work) =>
      work.then(
        () => true,
        (error) => {
          notify(error.message);
          return false;
        },
      );
    return { notify, attempt };
  }, []);

  return (
    <Notices value={tools}>
      {children}
      <p className="notice" id="notice" role="alert" hidden={notice === null}>{notice?.text}</p>
    </Notices>
  );
}
