/** The queue report port: how the queues of the bus stand, for those who watch the service. */
export interface QueueState {
  readonly name: string;
  /** Messages that wait for a reader. */
  readonly depth: number;
  /** Messages in the hands of readers, not answered yet. */
  readonly inHand: number;
  /** Messages a second, over about the last minute; null where that is not known. */
  readonly publishRate: number | null;
  readonly ackRate: number | null;
  readonly consumers: number;
}

export interface QueueReport {
  /** Every queue that there is, that of the dead letters among them. Rejects with BUS_UNAVAILABLE where the broker does not say. */
  queues(): Promise<readonly QueueState[]>;
}
