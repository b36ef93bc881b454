export * from "effect3/Layer"
export { scoped as effect, scopedDiscard as effectDiscard, unwrapScoped as unwrap } from "effect3/Layer"
