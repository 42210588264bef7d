// The few words that PrimeVue's components say by themselves, where they are not English.
const aria = {
  de: {
    close: 'Schließen', selectAll: 'Alle auswählen', unselectAll: 'Alle abwählen', selectRow: 'Zeile auswählen', unselectRow: 'Zeile abwählen',
    next: 'Weiter', previous: 'Zurück', expandRow: 'Zeile aufklappen', collapseRow: 'Zeile zuklappen', showFilterMenu: 'Filter zeigen',
    clear: 'Leeren', zoomIn: 'Vergrößern', zoomOut: 'Verkleinern', navigation: 'Navigation', passwordHide: 'Passwort verbergen', passwordShow: 'Passwort zeigen',
  },
  en: {
    close: 'Close', selectAll: 'Select all', unselectAll: 'Select none', selectRow: 'Select row', unselectRow: 'Unselect row',
    next: 'Next', previous: 'Back', expandRow: 'Expand row', collapseRow: 'Collapse row', showFilterMenu: 'Show filter',
    clear: 'Clear', zoomIn: 'Zoom in', zoomOut: 'Zoom out', navigation: 'Navigation', passwordHide: 'Hide password', passwordShow: 'Show password',
  },
}

export const primevueWords = {
  de: { emptyMessage: 'Nichts vorhanden', emptyFilterMessage: 'Nichts gefunden', emptySearchMessage: 'Nichts gefunden', aria: aria.de },
  en: { emptyMessage: 'Nothing here', emptyFilterMessage: 'Nothing found', emptySearchMessage: 'Nothing found', aria: aria.en },
}
