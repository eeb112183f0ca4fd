"use strict";

// Shows the document of this service, and asks nobody else: no validator, no fonts, no addresses from the query.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayOperationId: true,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  queryConfigEnabled: false,
  tryItOutEnabled: false,
  validatorUrl: null,
});
