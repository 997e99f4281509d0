"use strict";
// A link to a case opens it, and shows it again where a filter hides it. Browsers open the surroundings of a link's target
// by themselves, so that the page is whole without this, too.
(function () {
  function reveal() {
    var target = document.getElementById(location.hash.slice(1));
    for (var at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (!target) return;
    if (target.getClientRects().length === 0)
      document.querySelectorAll(".filters .switch:not(.narrow) input").forEach(function (filter) { filter.checked = true; });
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  addEventListener("click", function (event) {
    var link = event.target.closest && event.target.closest("a");
    if (link && link.hash && link.hash === location.hash) reveal();
  });
  reveal();
})();
