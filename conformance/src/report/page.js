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
  // A message that was its layout on one line is in the page once. Where a line ends within a tag there was a space.
  addEventListener("toggle", function (event) {
    var told = event.target.matches("details.raw") && event.target.querySelector("p");
    if (!told) return;
    var raw = document.createElement("pre");
    raw.textContent = event.target.previousElementSibling.textContent.split("\n").reduce(function (line, next) {
      var gap = line.lastIndexOf("<") > line.lastIndexOf(">") ? " " : "";
      return line + gap + next.replace(/^\t+/, "");
    });
    told.replaceWith(raw);
  }, true);
  reveal();
})();
