// The tools of the console. A tool is a folder that exports one of these; the shell knows nothing else of it. A new tool adds its
// folder and its line here.
import type { Component } from 'vue'
import type { RouteRecordRaw } from 'vue-router'
import type { Messages } from '@/i18n/words'
import { platform } from './platform/tool'

/** An entry of the navigation. */
export interface Section {
  id: string
  /** Key below the tool's words. */
  title: string
  icon: Component
  /** Where it leads; of a project's section, within that project. */
  to: (project: string) => string
  /** Stands below the project that is open, or beside it. */
  of: 'project' | 'organisation'
  /** The action without which it is not shown. */
  needs?: string
  /** Where the person may do it in some project is enough. */
  anywhere?: boolean
}

export interface Tool {
  id: string
  icon: Component
  home: string
  routes: RouteRecordRaw[]
  sections: Section[]
  /** Its names in the shell: `title`, and those of its sections. */
  messages: Messages
}

export const tools: readonly Tool[] = [platform]
