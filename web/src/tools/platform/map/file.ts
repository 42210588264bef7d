// The map of the example project as a file: what `npm run picture` writes for the README.
import { layout } from './layout'
import { pictureOf } from './model'
import { harbour, WORDS } from './sample'
import { svgText } from './svg'

export const picture = (): string => svgText(layout(pictureOf(harbour()), WORDS, 1000), 'A project on its map: hosts, apps, and machines in their networks')
