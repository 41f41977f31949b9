/** Shows the description of the app by AsyncAPI's own component, which the page has loaded. */

const SCHEMAS = "#/components/schemas/";

/**
 * Put in the place of each reference what it refers to. A schema that holds itself is cut short.
 *
 * AsyncAPI's parser does so too, and weighs half a megabyte more.
 *
 * @param {any} description As it was served; it is changed.
 */
function resolve(description) {
  const resolved = new Map();
  const walked = new Set();

  /** @param {string} reference @param {Set<string>} above */
  function target(reference, above) {
    if (above.has(reference)) {
      const title = reference.slice(SCHEMAS.length);
      return { title, type: "object", description: `Another ${title}, as above.` };
    }
    if (!resolved.has(reference)) {
      const keys = reference.slice(2).split("/");
      const found = keys.reduce((value, key) => value[key], description);
      const value = walk(found, new Set([...above, reference]));
      resolved.set(reference, value);
    }
    return resolved.get(reference);
  }

  /** @param {any} value @param {Set<string>} above Which references lead here. */
  function walk(value, above) {
    if (value === null || typeof value !== "object") return value;
    if (typeof value.$ref === "string") return target(value.$ref, above);
    if (!walked.has(value)) {
      walked.add(value);
      for (const [key, inner] of Object.entries(value)) value[key] = walk(inner, above);
    }
    return value;
  }

  // Schemas first: whatever refers to them finds them finished.
  for (const [name, schema] of Object.entries(description.components.schemas)) {
    schema["x-parser-schema-id"] = name;
    target(SCHEMAS + name, new Set());
  }
  return walk(description, new Set());
}

/** Mark a description as read, by what the component knows things again by. */
function marked(description) {
  for (const [name, channel] of Object.entries(description.channels)) {
    channel["x-parser-unique-object-id"] = name;
  }
  for (const [name, message] of Object.entries(description.channels.realtime.messages)) {
    message["x-parser-unique-object-id"] = name;
  }
  for (const [name, operation] of Object.entries(description.operations)) {
    operation["x-parser-unique-object-id"] = name;
  }
  return { ...description, "x-parser-spec-parsed": true, "x-parser-api-version": 3 };
}

async function show() {
  const component = globalThis.AsyncApiStandalone;
  if (component === undefined) {
    throw new Error("AsyncAPI's component could not be loaded: see QUART_REALTIME_DOCS_JS_URL");
  }
  const response = await fetch("asyncapi.json");
  if (!response.ok) throw new Error(`The description could not be loaded: ${response.status}`);
  const schema = marked(resolve(await response.json()));
  // Each operation shows its messages already.
  const config = { show: { sidebar: true, errors: false, messages: false } };
  component.render({ schema, config }, document.getElementById("asyncapi"));
}

const notice = document.getElementById("notice");
try {
  await show();
  notice.hidden = true;
} catch (error) {
  notice.textContent = error.message;
}
