
// The page reads perfectly without this. With it, an old copy of the page says that it is old:
// from the moment in data-valid-until on, nothing is shown as kept. A moment that cannot be read
// counts as past. And whatever is folded is unfolded for the printer.
(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector) => document.querySelectorAll(selector);
  const expire = () => {
    if (!("stale" in root.dataset) && Date.now() < Number(root.dataset.validUntil || NaN)) return;
    root.dataset.stale = "";
    for (const part of all("[data-when=fresh]")) part.hidden = true;
    for (const part of all("[data-when=stale]")) part.hidden = false;
  };
  expire();
  document.addEventListener("DOMContentLoaded", expire);
  document.addEventListener("visibilitychange", expire);
  setInterval(expire, 15000);
  addEventListener("beforeprint", () => {
    for (const part of all("details:not([open])")) part.open = part.dataset.unfolded = true;
  });
  addEventListener("afterprint", () => {
    for (const part of all("details[data-unfolded]")) {
      part.open = false;
      delete part.dataset.unfolded;
    }
  });
})();
