"use strict";
// Follows a run: an event names a newer version, which is fetched and takes the place of the old.
(() => {
  const WAIT = 3000; // milliseconds, before the next try
  const line = document.getElementById("live");
  const content = document.getElementById("content");
  // What the reader or the script has set on an element, which a newer version does not know.
  const OWN = new Set(["open", "aria-pressed", "data-drawn", "class", "style", "tabindex"]);
  let newest = 0;
  let busy = false;
  let source = null;
  let later = null;

  const shown = () => Number(content.dataset.version);
  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && (node.id || node.dataset?.key || node.dataset?.series)) || "";
  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  function say(words, state) {
    if (line.textContent !== words) line.textContent = words;
    line.dataset.state = state;
  }

  // Makes one tree like another, and keeps every element that is in both: what is open, where it is
  // scrolled to, what has the focus.
  function morph(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!OWN.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (!OWN.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    if (old.classList.contains("chart")) return; // what is in it is drawn
    const keyed = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const key = keyOf(child);
      const match = key ? keyed.get(key) : at && alike(at, child) ? at : null;
      keyed.delete(key);
      if (!match || !alike(match, child)) {
        old.insertBefore(child, at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      morph(match, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  async function catchUp() {
    if (busy) return;
    busy = true;
    try {
      await report.ready;
      while (newest > shown()) {
        const answer = await fetch("/content", { cache: "no-store" });
        if (!answer.ok) throw new Error(answer.statusText);
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        const next = fresh.getElementById("content");
        const specs = JSON.parse(fresh.getElementById("specs").textContent);
        morph(content, next);
        await report.refresh(specs);
      }
    } catch {
      setTimeout(catchUp, WAIT);
    } finally {
      busy = false;
    }
  }

  function listen() {
    clearTimeout(later);
    source?.close();
    source = new EventSource("/events");
    source.onmessage = (event) => {
      const news = JSON.parse(event.data);
      say(news.words, news.state);
      newest = news.version;
      catchUp();
    };
    source.onerror = () => {
      say("Not live: fedtt watch has ended, or too many pages listen to it. Trying again.", "away");
      if (source.readyState === EventSource.CLOSED) later = setTimeout(listen, WAIT);
    };
  }

  // A browser has few connections to one server: a page that nobody sees leaves its own to others.
  function listenWhileSeen() {
    if (document.visibilityState !== "hidden") return listen();
    clearTimeout(later);
    source?.close();
  }

  document.addEventListener("visibilitychange", listenWhileSeen);
  listenWhileSeen();
})();
