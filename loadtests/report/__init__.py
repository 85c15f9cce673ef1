"""`make report`: measure every component and write docs/performance.md, docs/sizing.md and README's table of figures.

| module      | holds                                                        |
|-------------|--------------------------------------------------------------|
| labs        | which labs, with which arguments, and what to say about them |
| running     | one lab as a process, its record                             |
| records     | records as files, their figures as rows                      |
| selected    | the figures that stand for a component, beside the originals' |
| performance | docs/performance.md                                          |
| sizing      | docs/sizing.md                                               |
| pages       | all that is written, and where                               |
"""
