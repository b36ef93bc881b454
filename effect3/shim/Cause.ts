export * from "effect3/Cause"
export {
  failureOption as findErrorOption,
  isDie as hasDies,
  isInterrupted as hasInterrupts,
  isInterruptedOnly as hasInterruptsOnly,
  sequential as combine
} from "effect3/Cause"
