"""How fast a model runs here, beside others who run it: measured in processes of their own, in turns, by our clocks.

`messages` is what is asked and answered, `runner` who can be asked, `rounds` the turns and what comes of them,
`telling` a table and a chart of it. `scaling` has networks without training take turns, `growing` and `curves` show
what grows with the context. Nothing here loads MLX but `measurer`, which is the process itself.
"""
