"""What a person looks at: figures, the sentences and tables beside them, the page, the audit in words.

May import: command, judge, runs, theory; never measure. activation alone needs train and images.
"""
