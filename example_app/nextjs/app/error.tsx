"use client";

import { useRouter } from "next/navigation";
import { startTransition, useEffect } from "react";

const EVERY = 3_000;

/** Quart doesn't answer: the page is asked for again until it does. */
export default function Away({ reset }: { reset: () => void }) {
  const { refresh } = useRouter();
  useEffect(() => {
    const again = () => startTransition(() => (refresh(), reset()));
    const timer = setInterval(again, EVERY);
    return () => clearInterval(timer);
  }, [refresh, reset]);
  return (
    <main className="login">
      <p className="card" role="status">The chat can’t be reached. Trying again…</p>
    </main>
  );
}
