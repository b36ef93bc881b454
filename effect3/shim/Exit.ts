export * from "effect3/Exit"
export { isInterrupted as hasInterrupts } from "effect3/Exit"
