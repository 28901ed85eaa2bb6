"""The only package that knows doit: steps become tasks, and doit's own gaps are filled through its public extension points."""
