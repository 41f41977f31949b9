import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./app.jsx";
import "../static/chat.css";

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
