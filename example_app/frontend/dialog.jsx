import { useEffect, useRef } from "react";

/**
 * A dialog that is open as long as it is mounted. It closes itself, so that the focus returns to
 * where it was, and tells `onClose(value)`, with the value of the button or "" for none.
 */
export function Dialog({ onClose, children, ...attributes }) {
  const dialog = useRef(null);
  useEffect(() => {
    if (!dialog.current.open) dialog.current.showModal();
  }, []);
  return (
    <dialog ref={dialog} onClose={() => onClose(dialog.current.returnValue)} {...attributes}>
      {children}
    </dialog>
  );
}

/** For a button within one that closes it. */
export const close = (event) => event.currentTarget.closest("dialog").close();
