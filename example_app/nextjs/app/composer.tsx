"use client";

import { useRealtime } from "quart-realtime/react";
import { useRef, useState, type SyntheticEvent } from "react";

import type { Chat } from "../api";

/** However long the connection is away for, up to a minute, and once all the same. */
const PATIENTLY = { retry: true, timeout: 60_000 };

export function Composer({ conversation_id }: { conversation_id: string }) {
  const client = useRealtime<Chat>();
  const field = useRef<HTMLInputElement>(null);
  const [status, setStatus] = useState("");

  const send = async (event: SyntheticEvent) => {
    event.preventDefault();
    const content = field.current!.value.trim();
    if (content === "") return;
    field.current!.value = "";
    setStatus("Sending…");
    try {
      await client.send("messages", "create", { message: { conversation_id, content } }, PATIENTLY);
      setStatus("");
    } catch (error) {
      setStatus(`Not sent: ${(error as Error).message}`);
      if (field.current) field.current.value ||= content;
    }
  };

  return (
    <>
      <p className="typing quiet" role="status">{status}</p>
      <form className="composer" onSubmit={send}>
        <label className="unseen" htmlFor="content">Message</label>
        <input id="content" ref={field} placeholder="Write a message" autoComplete="off" />
        <button className="primary">Send</button>
      </form>
    </>
  );
}
