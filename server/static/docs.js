// Start Swagger UI on the page /docs.

const MOST_ITEMS = 3; // of an array in a sample that Swagger UI makes

// Swagger UI fills the arrays of its samples up to minItems: for a large image, that is millions.
function capped(schema) {
  if (Array.isArray(schema)) return schema.map(capped);
  if (schema === null || typeof schema !== "object") return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, part]) => [key, capped(part)]));
  if (copy.minItems > MOST_ITEMS) copy.minItems = MOST_ITEMS;
  return copy;
}

const ShortSamples = {
  afterLoad() {
    const sample = this.fn.getSampleSchema;
    this.fn.getSampleSchema = (schema, ...rest) => sample(capped(schema?.toJS?.() ?? schema), ...rest);
  },
};

window.addEventListener("load", () => {
  SwaggerUIBundle({ url: `${document.documentElement.dataset.root}/openapi.json`, dom_id: "#swagger-ui", validatorUrl: null, plugins: [ShortSamples] });
});
