// What does not hold, as a code that the screen has words for, and what they are about.
export type FailureCode =
  | 'noteMalformed'
  | 'keyMalformed'
  | 'signatureWrong'
  | 'unsigned'
  | 'checkpointMalformed'
  | 'originWrong'
  | 'tileLength'
  | 'bundleBroken'
  | 'outside'
  | 'proofLength'
  | 'rootWrong'
  | 'proofMalformed'
  | 'keyChanged'
  | 'rolledBack'
  | 'forked'
  | 'historyRewritten'
  | 'recordDiffers'
  | 'recordMalformed'
  | 'fieldDiffers'
  | 'timeGoesBack'
  | 'tileDiffers'
  | 'commitmentWrong'
  | 'shownDiffers'
  | 'archiveBroken'
  | 'tooMany'
  | 'unread'

export type Facts = Record<string, string | number>

export class Failure extends Error {
  readonly code: FailureCode
  readonly facts: Facts

  constructor(code: FailureCode, facts: Facts = {}) {
    super(code)
    this.name = 'Failure'
    this.code = code
    this.facts = facts
  }
}
