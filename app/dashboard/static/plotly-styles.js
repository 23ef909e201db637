"use strict";
// Plotly adds style elements of its own, which the content security policy takes only with this page's nonce.

(() => {
  const { nonce } = document.currentScript;
  const createElement = document.createElement.bind(document);
  document.createElement = (name, options) => {
    const element = createElement(name, options);
    if (name === "style") element.nonce = nonce;
    return element;
  };
})();
