export { encodeHex as encode } from "effect3/Encoding"
