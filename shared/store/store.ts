/**
 * The store port: collections of JSON documents, each with a version. One conditional write of one document is the only atomic step there is, so
 * that MongoDB without transactions and one embedded file can promise the same.
 */
export type IndexValue = string | number;

/** A collection as data: its name, how a stored document is read, and what it can be found by. */
export interface CollectionDefinition<T extends { readonly id: string }> {
  /** Lower-case words with dashes. */
  readonly name: string;
  /** Stored JSON → document, old shapes brought up to date. Throws where the document cannot be read. */
  readonly read: (json: unknown) => T;
  /** Index name → the document's key in it, or undefined where the document is not in it. All keys of one index have the same length and types. */
  readonly indexes: Readonly<Record<string, (document: T) => readonly IndexValue[] | undefined>>;
}

export interface Versioned<T> {
  readonly document: T;
  /** 1 after the insert, one more with each replace. */
  readonly version: number;
}

export interface Query {
  readonly index: string;
  /** The first values of the key. All keys where left out. */
  readonly prefix?: readonly IndexValue[];
  /** Bounds for the value after the prefix, both inclusive. */
  readonly from?: IndexValue;
  readonly to?: IndexValue;
  /** The value after the prefix is greater (ascending) or smaller (descending) than this: the next page. */
  readonly beyond?: IndexValue;
  readonly order?: 'ascending' | 'descending';
}

export interface Collection<T extends { readonly id: string }> {
  get(id: string): Promise<Versioned<T> | undefined>;
  /** False, and nothing written, where a document of this id exists. After `true` the document survives a crash and a power cut. */
  insert(document: T): Promise<boolean>;
  /** Writes if the stored version is `expectedVersion`; of many at once exactly one wins. False, and nothing written, otherwise. Durable as `insert`. */
  replace(document: T, expectedVersion: number): Promise<boolean>;
  /** Removes if the stored version is `expectedVersion`. */
  remove(id: string, expectedVersion: number): Promise<boolean>;
  /** Documents in the index's order. One that cannot be read is left out and reported, never thrown. */
  find(query: Query & { readonly limit: number }): Promise<readonly Versioned<T>[]>;
  count(query: Query): Promise<number>;
}

export interface Store {
  /** The same definition twice gives the same collection. Makes tables and indexes where they are missing. */
  collection<T extends { readonly id: string }>(definition: CollectionDefinition<T>): Promise<Collection<T>>;
  /** Resolves where the store can be read now. Rejects with STORE_UNAVAILABLE otherwise. */
  ping(): Promise<void>;
  /** Waits for commits under way. Every later call rejects with PORT_CLOSED. Twice is once. */
  close(): Promise<void>;
}
