export * from "effect3/TestClock"
