// Times stand in UTC on the page. Their titles also give the reader's own time.
"use strict";

function addLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
    const local = new Date(time.dateTime);
    if (!Number.isNaN(local.getTime())) {
      time.title += ` (${local.toLocaleString()} here)`;
      time.dataset.local = "";
    }
  }
}

addLocalTimes(document);
document.addEventListener("htmx:load", (event) => addLocalTimes(event.target));
document.addEventListener("owsuper:refreshed", () => addLocalTimes(document));
