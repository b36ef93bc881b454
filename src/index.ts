/**
 * @since 0.1.0
 */
export * as Dlock from "./Dlock.js"

/**
 * @since 0.1.0
 */
export * as DlockError from "./DlockError.js"

/**
 * @since 0.1.0
 */
export * as Fanout from "./Fanout.js"

/**
 * @since 0.1.0
 */
export * as Lock from "./Lock.js"

/**
 * @since 0.1.0
 */
export * as Operations from "./Operations.js"

/**
 * @since 0.1.0
 */
export * as PubSubLayer from "./PubSubLayer.js"

/**
 * @since 0.1.0
 */
export * as ReadWriteLock from "./ReadWriteLock.js"

/**
 * @since 0.1.0
 */
export * as RedisLayer from "./RedisLayer.js"

/**
 * @since 0.1.0
 */
export * as Semaphore from "./Semaphore.js"

/**
 * @since 0.1.0
 */
export * as Singleton from "./Singleton.js"
