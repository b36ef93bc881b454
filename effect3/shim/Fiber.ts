export * from "effect3/Fiber"
export { type RuntimeFiber as Fiber } from "effect3/Fiber"
