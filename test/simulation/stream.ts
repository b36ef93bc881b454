/** One direction of a connection: what is sent later arrives later. */
import type { World } from "./world.js"

export class Stream {
  /** Nothing gets through before. */
  heldUntil = 0
  private last = 0

  constructor(readonly world: World) {}

  /** When what is sent now arrives: after everything that was sent before. */
  arrival(): number {
    this.last = Math.max(this.world.now + this.world.latency(), this.last, this.heldUntil)
    return this.last
  }

  reset(): void {
    this.heldUntil = 0
    this.last = 0
  }
}
