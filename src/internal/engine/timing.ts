/** The times of the engine that no option sets. */

/** How often the messages are checked while somebody waits for one. */
export const probeEveryMillis = 500

/** How long a wait after a quiet time may last unchecked. */
export const probeAfterMillis = 100

/** An alarm that rings that late says more about this process than about the store. */
export const oversleptMillis = 50

/** A waiter that no message can reach asks this often. */
export const unsubscribedHeartbeatMillis = 1_000

/** Waiters of several processes poke one after the other, the first in the queue first (R10). */
export const pokeStaggerMillis = 20

/** Between two batches that are due at once: long enough for the event loop to come round. */
export const batchPauseMillis = 2
