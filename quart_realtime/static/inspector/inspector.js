/** The inspector's page: logs in, and hands what the server tells to its parts. */

import { Console } from "./console.js";
import { $, write } from "./dom.js";
import { Frames } from "./frames.js";
import { Lists } from "./lists.js";
import { Live, Refused, logIn } from "./live.js";
import { Plots } from "./plots.js";

const STATES = { connecting: "connecting", connected: "live", waiting: "coming back", refused: "logged out" };

/** @type {import("./live.js").Wish} */
const wish = { paused: false, connection: null, direction: null, type: null, room: null, search: "", opened: null };
/** The token that this page looks with, where one is asked for: its console connects with it too. */
let token = /** @type {string | null} */ (null);
let connected = false;

const plots = new Plots();
const client = new Console();
const live = new Live(wish, take, state);
const frames = new Frames(wish, () => live.wish());
const lists = new Lists({
  connection: (id) => frames.choose({ connection: id }),
  room: (room) => frames.choose({ room }),
  open: (room) => {
    wish.opened = room;
    live.wish();
  },
});

/** @param {any} news */
function take(news) {
  if (news.about) about(news.about);
  if (news.samples) plots.add(news.samples);
  if (news.state) lists.show(news.state);
  if (news.frames) frames.add(news.frames, news.dropped);
}

/** @param {any} told */
function about(told) {
  write($("about"), `${told.app} · process ${told.node.slice(0, 8)} · ${told.broker}`);
  document.title = `Inspector · ${told.app}`;
  client.offer(told);
  if (token !== null && !connected) {
    connected = true;
    client.connect(token);
  }
}

/** @param {keyof typeof STATES} state @param {string} [why] */
function state(state, why = "") {
  $("live").dataset.state = state;
  write($("live"), STATES[state]);
  if (state === "refused") askForToken(why);
}

/** @param {string} why */
function askForToken(why) {
  document.body.dataset.screen = "login";
  write($("login-failure"), why);
  $("login-token").focus();
}

async function open() {
  try {
    await logIn(token);
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    // Whoever has shown no token yet hasn't done anything wrong.
    askForToken(token === null && error instanceof Refused ? "" : message);
    return;
  }
  document.body.dataset.screen = "inspector";
  live.open(token);
}

$("login-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  token = $("login-token").value.trim() || null;
  $("login-token").value = "";
  connected = false;
  open();
});

$("search").addEventListener("input", () => {
  wish.search = $("search").value.trim();
  live.wish();
});

open();
