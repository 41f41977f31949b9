import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";

export const metadata: Metadata = { title: "Chat, in Next.js", icons: "/static/icon.svg" };
export const viewport: Viewport = { colorScheme: "light dark", interactiveWidget: "resizes-content" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <head>
        <link rel="stylesheet" href="/static/chat.css" />
      </head>
      <body>{children}</body>
    </html>
  );
}
