/** A column of `ListTable`. The slot of its key draws the cell; without one the field is shown as it is. */
export interface TableColumn<Row> {
  key: (keyof Row & string) | (string & {})
  label: string
  /** CSS width. */
  width?: string
  sortable?: boolean
  /** Field, or function, to sort by, where it is not the key. */
  sortBy?: string | ((row: Row) => string | number)
  /** Numbers stand on the right. */
  number?: boolean
}
