"use strict";

const docs = document.getElementById("docs");

// Swagger UI has dark colours, and leaves it to the page to ask for them.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

window.SwaggerUIBundle({
  url: docs.dataset.schema,
  domNode: docs,
  deepLinking: true,
  filter: true,
  // The validator's badge would ask a site elsewhere.
  validatorUrl: null,
  // Who is logged in may try things out without a token.
  requestInterceptor: (request) => {
    if (new URL(request.url, location.href).origin === location.origin) {
      request.headers["X-CSRFToken"] = docs.dataset.csrf;
    }
    return request;
  },
});
