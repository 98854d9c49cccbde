// Live updates: asks for the page again when the server says that it has changed, and puts in what is
// new, without a jump: focus, scrolling, selected boxes and open details stay as they are. While the
// server's line is down, it asks every few seconds. A page that is hidden has no line. Parts of a page that change have data-live and an
// id; rows of a list have ids of their own.
"use strict";

(() => {
  const badge = document.getElementById("live");
  const topics = badge?.dataset.topics.trim();
  if (!topics) return;

  const LEAST_PAUSE = 1000; // milliseconds between refreshes, and
  const SHARE = 10; // this many times as long as the last one took, so that pages cost little
  const POLL = 5000;
  const PATIENCE = 4000; // until a line that is down is said to be down
  const LONGEST_RETRY = 30000;
  const TEXTS = {
    live: ["live", "Changes are shown as they happen"],
    polling: ["polling", "The live line is down: the page is asked for every 5 seconds"],
    offline: ["offline", "The dashboard or its database does not answer: trying again"],
    expired: ["log in again", "The session has ended: reload the page to log in"],
  };

  let source = null;
  let retry = 1000;
  let connected = false;
  let refreshing = false;
  let wanted = false;
  let allowedAt = 0;
  let refreshedAt = Date.now();
  let timer = null;
  let doubt = null;

  function say(state) {
    if (badge.dataset.state === state) return;
    badge.dataset.state = state;
    [badge.textContent, badge.title] = TEXTS[state];
  }

  // --- the line -------------------------------------------------------------------------------

  // A browser opens six connections to a host: pages in hidden tabs must not hold them.
  function disconnect() {
    source?.close();
    source = null;
    connected = false;
    clearTimeout(doubt);
    doubt = null;
  }

  function connect() {
    if (source || document.hidden || badge.dataset.state === "expired") return;
    const query = topics.split("\n").map((topic) => `topic=${encodeURIComponent(topic)}`).join("&");
    source = new EventSource(`${badge.dataset.url}?${query}`);
    source.addEventListener("ready", () => {
      connected = true;
      retry = 1000;
      clearTimeout(doubt);
      doubt = null;
      say("live");
      refresh();
    });
    source.addEventListener("changed", refresh);
    source.addEventListener("error", () => {
      connected = false;
      if (badge.dataset.state === "expired") return;
      // Once for all errors of an outage: they may follow faster than this takes.
      doubt ??= setTimeout(() => connected || say("polling"), PATIENCE);
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        refresh(); // the answer says why there is no line: nobody is logged in, or no database
        setTimeout(connect, retry);
        retry = Math.min(retry * 2, LONGEST_RETRY);
      }
    });
  }

  // --- refreshes ------------------------------------------------------------------------------

  function refresh() {
    if (!document.querySelector("[data-live]")) return;
    wanted = true;
    if (refreshing || document.hidden || timer !== null) return;
    timer = setTimeout(load, Math.max(0, allowedAt - Date.now()));
  }

  async function load() {
    timer = null;
    wanted = false;
    refreshing = true;
    const began = Date.now();
    try {
      const answer = await fetch(location.href, {
        headers: { Accept: "text/html" },
        redirect: "manual",
        cache: "no-store",
        signal: AbortSignal.timeout(15000),
      });
      if (answer.type === "opaqueredirect" || answer.status === 401) {
        say("expired");
        disconnect();
        return;
      }
      if (answer.status >= 500) throw new Error(answer.status);
      if (!answer.ok) {
        location.reload(); // it is gone: the server says what has become of it
        return;
      }
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      if (badge.dataset.state !== "live") say(connected ? "live" : "polling");
    } catch {
      say("offline");
    } finally {
      refreshing = false;
      refreshedAt = Date.now();
      allowedAt = refreshedAt + Math.max(LEAST_PAUSE, SHARE * (refreshedAt - began));
      if (wanted) refresh();
    }
  }

  setInterval(() => {
    if (document.hidden || badge.dataset.state === "expired") return;
    const growing = document.querySelector("[data-live-every]");
    const every = growing ? Number(growing.dataset.liveEvery) * 1000 : Infinity;
    const due = badge.dataset.state === "live" ? every : Math.min(every, POLL);
    if (Date.now() - refreshedAt >= due) refresh();
  }, 500);

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      disconnect();
    } else {
      connect(); // which asks for the page, once the line is there
      if (wanted) refresh();
    }
  });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => {
    if (event.persisted) connect();
  });

  // --- what is new ----------------------------------------------------------------------------

  function show(fresh) {
    let before = null;
    for (const part of fresh.querySelectorAll("[data-live][id]")) {
      const there = document.getElementById(part.id);
      if (there) {
        change(there, part);
        before = there;
      } else {
        const added = document.importNode(part, true);
        if (before) before.after(added);
        else document.getElementById("main").append(added);
        before = added;
      }
    }
    for (const part of document.querySelectorAll("[data-live][id]")) {
      if (!fresh.getElementById(part.id)) part.remove();
    }
    if (fresh.title) document.title = fresh.title;
    document.dispatchEvent(new CustomEvent("owsuper:refreshed"));
  }

  // What an element is about, so that a row's state stays with its run when rows move.
  function key(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return null;
    const name = node.getAttribute("id") || node.dataset.key; // the .id of a form may be a field of it
    if (name) return name;
    if (node.localName !== "tr") return null;
    return node.querySelector("input[type=checkbox][value]")?.value ?? null;
  }

  function change(there, fresh) {
    if (there.nodeType !== Node.ELEMENT_NODE) {
      if (there.data !== fresh.data) there.data = fresh.data;
      return;
    }
    if (there.dataset.loaded !== undefined || there.isEqualNode(fresh)) return;
    if (there.localName === "time" && there.dateTime === fresh.dateTime) {
      changeChildren(there, fresh); // its title has the reader's own time, too
      return;
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (name !== "open" && there.getAttribute(name) !== value) there.setAttribute(name, value);
    }
    for (const { name } of [...there.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) there.removeAttribute(name);
    }
    if (there.localName !== "textarea") changeChildren(there, fresh);
  }

  function changeChildren(there, fresh) {
    const keyed = new Map();
    for (const child of there.childNodes) {
      if (key(child) !== null) keyed.set(key(child), child);
    }
    let place = there.firstChild;
    for (const child of [...fresh.childNodes]) {
      const name = key(child);
      let same = name === null ? place : keyed.get(name);
      if (name === null) {
        while (same && key(same) !== null) same = same.nextSibling;
      }
      if (same && isAlike(same, child)) {
        if (same !== place) there.insertBefore(same, place);
        else place = place.nextSibling;
        change(same, child);
      } else {
        there.insertBefore(document.importNode(child, true), place);
      }
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  // A field that is about another thing now is replaced: its state must not pass on.
  function isAlike(one, other) {
    if (one.nodeType !== other.nodeType || one.nodeName !== other.nodeName) return false;
    if (one.localName !== "input" && one.localName !== "button") return true;
    return ["type", "name", "value"].every((name) => one.getAttribute(name) === other.getAttribute(name));
  }

  connect();
})();

// Large values are loaded when they are opened.
document.addEventListener(
  "toggle",
  async (event) => {
    const place = event.target.open ? event.target.querySelector("[data-load]") : null;
    if (!place || place.dataset.loaded !== undefined) return;
    place.dataset.loaded = "";
    try {
      const answer = await fetch(place.dataset.load, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const value = page.getElementById("value");
      if (!answer.ok || !value) throw new Error(answer.status);
      value.removeAttribute("id");
      place.replaceChildren(document.importNode(value, true));
    } catch {
      delete place.dataset.loaded; // the link is still there
    }
  },
  true,
);
