// Loads the page's script. Where a part of it isn't given out (an account's few functions may all be busy), the page is loaded
// anew, which asks only for what is missing: the others are kept by the browser.

const KEY = "ghl-sync.loads";
const MOST_LOADS = 5;
const FIRST_WAIT_MS = 250;

import("./app.js").then(
  () => sessionStorage.removeItem(KEY),
  (error) => {
    console.warn(error);
    const loads = Number(sessionStorage.getItem(KEY) ?? 0) + 1;
    if (loads < MOST_LOADS) {
      sessionStorage.setItem(KEY, String(loads));
      setTimeout(() => location.reload(), FIRST_WAIT_MS * 2 ** loads);
    } else {
      sessionStorage.removeItem(KEY);
      document.getElementById("load-failed").hidden = false;
    }
  },
);
