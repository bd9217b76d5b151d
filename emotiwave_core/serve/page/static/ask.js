// Requests to the server that this page came from. A token is kept in memory alone: it comes by #token=… or is typed.
let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
if (token) history.replaceState(null, "", location.pathname);

export const useToken = (typed) => { token = typed.trim(); };

export class Refused extends Error {
  constructor(status, sentence) { super(sentence); this.status = status; }
}

export async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer.");
  }
  const table = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, table.error ?? `The server answered ${answer.status}.`);
  return table;
}

export function openStream() {
  const address = new URL("stream", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, token ? ["emotiwave", `bearer.${token}`] : ["emotiwave"]);
  socket.binaryType = "arraybuffer";
  return socket;
}

// The length of the header (uint32, little-endian), the header as JSON, the content.
export function message(header, content) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const whole = new Uint8Array(4 + text.length + content.byteLength);
  new DataView(whole.buffer).setUint32(0, text.length, true);
  whole.set(text, 4);
  whole.set(new Uint8Array(content), 4 + text.length);
  return whole;
}
