"use strict";

const docs = document.getElementById("docs");

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
