"""Tables, plots and HTML pages made from results; needs no torch and no Detectron2."""
