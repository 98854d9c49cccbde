// Times stand in UTC on the page. Their titles also give the reader's own time.
"use strict";

function addLocalTimes() {
  for (const time of document.querySelectorAll("time[datetime]:not([data-local])")) {
    const local = new Date(time.dateTime);
    if (!Number.isNaN(local.getTime())) {
      time.title += ` (${local.toLocaleString()} here)`;
      time.dataset.local = "";
    }
  }
}

addLocalTimes();
document.addEventListener("owsuper:refreshed", addLocalTimes);
